FROM alpine
RUN make
# test: HTTP_PROXY=http://p:1 https_proxy=q
