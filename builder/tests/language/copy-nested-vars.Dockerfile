ARG P=x
FROM alpine
ARG P
ENV D=${P:+set-${P}}-${Q:-${P:-none}}
COPY --from=alpine "/a/${D}" '/$D' /out/
LABEL "key $P"="v ${P}" k2=a\ b\\c
