FROM alpine
WORKDIR a
WORKDIR b/../c
WORKDIR /x//y/./
COPY f .
WORKDIR /
WORKDIR ..
USER me
WORKDIR /home/me
