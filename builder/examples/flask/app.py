import os

from flask import Flask, jsonify

app = Flask(__name__)


@app.route("/")
def hello():
    return "Hello from Flask in a coracle\n"


@app.route("/netns")
def netns():
    """The network namespace that answers: never the host's."""
    return jsonify(netns=os.readlink("/proc/self/ns/net"), host=os.uname().nodename)
