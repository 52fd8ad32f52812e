FROM alpine
ARG no_proxy FTP_PROXY
ENV HTTP_PROXY=img
RUN x
# test: HTTP_PROXY=build no_proxy=n
