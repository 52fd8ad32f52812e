FROM alpine
ADD --chmod=600 --chown=1:1 --link https://example.org/a/b.txt?x=1 /d/
ADD git://example.org/r.git /g
ADD ssh://git@example.org/r.git#main /s
ADD --checksum=0123456789abcdef0123456789abcdef01234567 https://example.org/r.git#v2 /c
# test: BUILDKIT_CONTEXT_KEEP_GIT_DIR=1
