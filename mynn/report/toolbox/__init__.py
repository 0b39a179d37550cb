"""The parts of the report's toolbox; `mynn.module` offers them under the report's names."""
