"""Who is told what comes of a run, through Airflow's notifiers: the file that says so, the message, the sending."""
