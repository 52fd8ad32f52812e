ARG A=1
ARG B=${A}2
FROM alpine
RUN echo $A
ARG B
RUN echo $B
