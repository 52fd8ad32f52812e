FROM alpine
RUN --mount=type=cache,target=/c --device=nvidia.com/gpu=all make
