FROM alpine
WORKDIR /w
COPY a /b
COPY a b dir/
COPY ["with space", "dest space/"]
COPY . .
COPY ../up ./x /up/
COPY *.txt docs/**/[a-c]?.md /t/
COPY --chown=1:2 --chmod=u+rwX,go=rX,a-s --link a b
COPY --parents ./x/./y/z /p
COPY --exclude=*.md --exclude=!keep.md . /e
