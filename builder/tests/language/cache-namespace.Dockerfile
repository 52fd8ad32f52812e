FROM alpine
RUN --mount=type=cache,target=/c,from=busybox,source=/seed x
# test: BUILDKIT_CACHE_MOUNT_NS=team BUILDKIT_SANDBOX_HOSTNAME=box
