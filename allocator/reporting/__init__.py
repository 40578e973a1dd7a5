"""What is looked at and sent: charts as Vega-Lite specs, made from the JSON documents of the commands alone."""
