ARG BAD
FROM alpine:${BAD}
# test: BAD=3
