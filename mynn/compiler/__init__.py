"""From graph to native code; `mynn.compiler.pipeline` lists the passes."""
