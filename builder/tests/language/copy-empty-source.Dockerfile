FROM alpine
ARG X
COPY $X /x
