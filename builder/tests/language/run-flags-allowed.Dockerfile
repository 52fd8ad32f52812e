FROM alpine
RUN --network=host --security=insecure make
# test: allow
