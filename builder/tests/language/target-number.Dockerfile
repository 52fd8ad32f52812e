FROM alpine
RUN one
FROM busybox
RUN two
# test: target=0
