"""The sections of the report, one module each: functions from the study's folder to blocks."""
