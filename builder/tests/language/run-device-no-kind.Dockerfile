FROM scratch
RUN --device=gpu ["/x"]
