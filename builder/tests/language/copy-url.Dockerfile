FROM alpine
COPY https://example.org/x /x
