FROM golang:1.22 AS build
RUN make
FROM busybox AS unused
RUN never
FROM alpine
COPY --from=build /out /out
COPY --from=0 /out2 /out2
COPY --from=nginx:1.25 /etc/nginx /n/
COPY --from=BUILD /o3 /
COPY --from=assets img /img/
# test: context=assets
