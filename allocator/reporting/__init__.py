"""What is looked at and sent: charts, the report page, the workbook. Made of the documents that `--json` writes."""
