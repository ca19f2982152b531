"""The services of docker-compose.yaml as processes of this machine, and what they have to survive."""
