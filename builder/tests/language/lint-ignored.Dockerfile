FROM alpine
COPY secret.txt kept.txt /x/
COPY dir /d
ADD node_modules /n
