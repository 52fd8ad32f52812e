FROM alpine
HEALTHCHECK --retries=x CMD y
