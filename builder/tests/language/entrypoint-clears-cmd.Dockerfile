FROM alpine
ENTRYPOINT ["x"]
