FROM alpine
ADD a.tar.gz /a/
ADD --unpack=false b.tar /b/
ADD --unpack https://example.org/c.tar /c/
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.org/d /d
ADD https://github.com/a/b.git#v1:sub /e
ADD --keep-git-dir=true git@github.com:a/b.git /f
