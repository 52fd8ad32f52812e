FROM busybox AS tools
RUN make
FROM triggers
RUN echo after $TRIGGERED
