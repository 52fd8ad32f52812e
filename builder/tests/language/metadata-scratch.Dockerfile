FROM scratch
SHELL ["/busybox", "sh"]
CMD run it
HEALTHCHECK NONE
USER 1000:1000
