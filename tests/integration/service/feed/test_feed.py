"""The change log over HTTP: pages, long polls and streams."""

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from service.feed import SCAN_MAX, Pace
from service.tail import WINDOW

from .conftest import DEADLINE_S, TOKEN, Connect, Consumer, Log, wait_until
