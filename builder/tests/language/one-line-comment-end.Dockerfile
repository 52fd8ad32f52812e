FROM alpine
RUN a \
# comment
# more

RUN b
