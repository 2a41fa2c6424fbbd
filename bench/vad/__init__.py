"""What voice activity detection costs: a step of its model, and a whole worker.

python -m bench.vad
python -m bench.vad --sessions 300 --profile shares.txt
"""
