FROM alpine
ENV D=/d U=7 P=80 S=INT
WORKDIR $D/sub
USER $U
EXPOSE $P ${P}81/udp
VOLUME $D/v "$D/w"
STOPSIGNAL SIG$S
COPY --chown=$U:$U --chmod=06$U$U $D/a $D/
ADD $D/b .
CMD echo $D
ENTRYPOINT ["$D"]
RUN echo $D
HEALTHCHECK CMD test $D
SHELL ["$D", "-c"]
