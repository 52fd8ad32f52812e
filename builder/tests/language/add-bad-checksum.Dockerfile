FROM alpine
ADD --checksum=sha256:12 https://example.org/d /d
