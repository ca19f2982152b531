"""The page inside the Airflow UI: what tuning runs found, read from Airflow's own records.

Nothing here changes anything, and nothing here calls Google while a page renders: the answers in results files are
read when somebody asks for them. Actions trigger DAG runs through Airflow's own API, as the person who clicked.
"""
