FROM alpine
RUN echo a \
    # a comment in between

    && echo b \   
    && echo "c \
d"
RUN echo 'ends with two \\' \\
COPY a\ b /c
