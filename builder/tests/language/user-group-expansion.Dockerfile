FROM alpine
ARG U=app
USER ${U}:${G:-grp}
RUN x
