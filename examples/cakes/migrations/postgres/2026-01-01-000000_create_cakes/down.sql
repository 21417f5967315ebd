DROP TABLE cakes;
