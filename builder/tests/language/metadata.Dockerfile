FROM user-base
LABEL a=b "c d"="e f" multi="x\
y"
LABEL old style label
MAINTAINER Some One <one@example.org>
EXPOSE 80 443/tcp 53/UDP 8000-8002
VOLUME ["/a", "/b c"]
VOLUME /d /e
STOPSIGNAL 9
HEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --start-interval=500ms --retries=3 CMD curl -f http://localhost/
CMD ["a", "b"]
ENTRYPOINT ["c"]
ONBUILD RUN make
ONBUILD COPY --from=x a b
