"""TensorRT and TensorRT-RTX through their command-line tools, ``trtexec`` and ``tensorrt_rtx``.

On a board whose TensorRT has no Python that espdeploy could load (JetPack 4.6) this is the way in; elsewhere it is the
second opinion of ``bench --cross-check``.
"""
