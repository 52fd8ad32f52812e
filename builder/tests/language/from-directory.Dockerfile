FROM Base AS first
RUN make
FROM base
COPY --from=first /out /out
# test: context=base
