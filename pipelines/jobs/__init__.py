"""The jobs that commands run: requests, Beam graphs and the steps around them; one module or folder for each job."""
