# check=skip=all
from alpine
MAINTAINER me
