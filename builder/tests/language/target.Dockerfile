FROM alpine AS one
RUN one
FROM busybox AS two
RUN two
# test: target=ONE
