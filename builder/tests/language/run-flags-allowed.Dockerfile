FROM alpine
RUN --network=host --security=insecure --device=nvidia.com/gpu=all make
# test: allow
