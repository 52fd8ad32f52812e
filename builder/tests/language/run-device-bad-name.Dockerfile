FROM scratch
RUN --device=/dev/fuse,optional ["/x"]
