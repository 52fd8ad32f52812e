FROM alpine
RUN --mount=type=cache make
