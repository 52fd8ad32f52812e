FROM alpine AS busybox
RUN one
FROM busybox
RUN two
