FROM alpine
ARG A="x y" B='$A' C=$A
RUN z
