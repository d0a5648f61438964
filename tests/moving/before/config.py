import os


class Config:
    SECRET_KEY = os.environ.get("SECRET_KEY", "only for trying things out")
    SQLALCHEMY_DATABASE_URI = os.environ["DATABASE_URL"]
    REDIS_URL = os.environ.get("REDIS_URL") or "redis://"
    MAIL_FOLDER = os.environ["MAIL_FOLDER"]
    POST_DELAY = float(os.environ.get("POST_DELAY", "0"))
