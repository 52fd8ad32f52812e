FROM alpine
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN a | b
CMD c
