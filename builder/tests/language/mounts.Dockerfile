FROM golang AS deps
FROM alpine
ARG ID=one
WORKDIR /w
RUN --mount=target=. make
RUN --mount=type=bind,from=deps,source=/go,target=/go,rw make
RUN --mount=type=cache,id=$ID,target=/root/.cache,sharing=locked,mode=0700,uid=1,gid=2 --mount=type=cache,dst=c make
RUN --mount=type=tmpfs,target=/t,size=64m --network=none make
RUN --mount=type=secret,id=key --mount=type=secret,id=k2,target=/s,required --mount=type=secret,id=k3,env=KEY make
RUN --mount=type=ssh --mount=type=ssh,id=x,target=/a.sock,mode=0666 make
