"""The benchmark table: models times competitors. ``python -m benchmarks.table --help`` explains it.

| file | what is there |
|---|---|
| `cases` | the models: sizes, batches, first weights |
| `ours`, `rivals` | each model as we write it, and as each rival's users do |
| `worker`, `pipes` | a process that builds programs and runs their steps when told |
| `race` | competitors compared, then timed in turns |
| `costs` | start-up, memory, imports, dispatch |
| `records`, `report`, `chart` | the CSV, the page, the picture |
"""
