FROM alpine
RUN --mount=type=cash,target=/x make
